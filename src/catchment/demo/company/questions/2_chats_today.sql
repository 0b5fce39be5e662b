-- Are there more chats today than usual?
-- Chats opened today up to now, and on the same weekday of the eight weeks before up to the same time.
WITH opened AS (
  SELECT timestamp FROM app.chat_opened
  UNION ALL
  SELECT timestamp FROM website.chat_opened
), days AS (
  SELECT date_trunc('day', now()) - to_days(7 * week::INT) AS midnight,
    now() - to_days(7 * week::INT) AS same_time
  FROM range(9) AS weeks(week)
)
SELECT midnight::DATE AS day, count(timestamp) AS chats
FROM days
LEFT JOIN opened ON timestamp BETWEEN midnight AND same_time
GROUP BY midnight
ORDER BY midnight DESC
