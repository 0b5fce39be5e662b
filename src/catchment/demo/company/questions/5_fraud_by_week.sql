-- How many card payments are fraud?
-- Payments confirmed as fraud, by the week of the payment; confirming takes up to three days, so the last week may grow.
SELECT date_trunc('week', paid.timestamp)::DATE AS week,
  count(*) AS payments,
  count(fraud.payment_id) AS fraudulent,
  round(100.0 * count(fraud.payment_id) / count(*), 2) AS fraud_pct
FROM app.card_payment AS paid
LEFT JOIN app.fraud_confirmed AS fraud USING (payment_id)
GROUP BY week
ORDER BY week
