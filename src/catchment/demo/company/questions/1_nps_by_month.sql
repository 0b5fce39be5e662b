-- Do our customers like us better every month?
-- NPS: the share of 9s and 10s less that of 0s to 6s, from -100 to 100.
SELECT date_trunc('month', timestamp)::DATE AS month,
  count(*) AS answers,
  round(100.0 * (count(*) FILTER (score >= 9)
    - count(*) FILTER (score <= 6)) / count(*), 1) AS nps
FROM app.nps_answered
GROUP BY month
ORDER BY month
