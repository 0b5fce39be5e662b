-- How long do customers wait for a first reply?
-- Minutes from opening a chat to its first reply, on average, by the week of the opening; chats without one don't count.
WITH opened AS (
  SELECT chat_id, timestamp FROM app.chat_opened
  UNION ALL
  SELECT chat_id, timestamp FROM website.chat_opened
), replied AS (
  SELECT chat_id, timestamp FROM app.chat_first_reply
  UNION ALL
  SELECT chat_id, timestamp FROM website.chat_first_reply
)
SELECT date_trunc('week', opened.timestamp)::DATE AS week,
  count(*) AS chats,
  round(avg(date_diff('millisecond', opened.timestamp,
    replied.timestamp)) / 60000, 1) AS minutes
FROM opened
JOIN replied USING (chat_id)
GROUP BY week
ORDER BY week
