-- What were the worst days, and what was the weather like?
WITH days AS (
  SELECT month, day, round(avg(dep_delay)) AS delay_min,
    count(*) FILTER (dep_time IS NULL) AS cancelled
  FROM flights.flights
  GROUP BY month, day
), sky AS (
  SELECT month, day, round(sum(precip), 2) AS rain_in,
    round(max(wind_gust)) AS gust_mph
  FROM flights.weather
  GROUP BY month, day
)
SELECT make_date(2013, month, day) AS date, delay_min,
  cancelled, rain_in, gust_mph
FROM days
LEFT JOIN sky USING (month, day)
ORDER BY delay_min DESC
LIMIT 5
