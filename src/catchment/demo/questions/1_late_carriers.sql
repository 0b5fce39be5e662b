-- Which carriers keep you waiting most?
SELECT name AS carrier, count(*) AS flights,
  round(100.0 * avg((arr_delay > 15)::INT), 1) AS late_pct,
  round(avg(arr_delay), 1) AS delay_min
FROM flights.flights
JOIN flights.airlines USING (carrier)
WHERE arr_delay IS NOT NULL
GROUP BY name
ORDER BY late_pct DESC
LIMIT 5
