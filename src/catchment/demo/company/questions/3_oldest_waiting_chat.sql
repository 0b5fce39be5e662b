-- Who has been waiting for us longest?
-- The oldest chat with no reply that is not closed, and how many others wait; after two hours one has lapsed.
WITH opened AS (
  SELECT chat_id, topic, timestamp FROM app.chat_opened
  UNION ALL
  SELECT chat_id, topic, timestamp FROM website.chat_opened
), done AS (
  SELECT chat_id FROM app.chat_first_reply
  UNION ALL
  SELECT chat_id FROM website.chat_first_reply
  UNION ALL
  SELECT chat_id FROM app.chat_closed
  UNION ALL
  SELECT chat_id FROM website.chat_closed
)
SELECT chat_id, topic, timestamp AS opened,
  date_diff('second', timestamp, now()) // 60 AS minutes,
  count(*) OVER () - 1 AS others
FROM opened
ANTI JOIN done USING (chat_id)
WHERE timestamp > now() - INTERVAL 2 HOURS
ORDER BY timestamp
LIMIT 1
