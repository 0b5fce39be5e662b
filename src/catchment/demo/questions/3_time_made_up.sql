-- On which routes is most time made up in the air?
SELECT origin, name AS destination,
  round(avg(dep_delay), 1) AS late_off,
  round(avg(arr_delay), 1) AS late_on,
  round(avg(dep_delay - arr_delay), 1) AS made_up
FROM flights.flights
JOIN flights.airports ON faa = dest
WHERE arr_delay IS NOT NULL
GROUP BY origin, name
HAVING count(*) >= 365
ORDER BY made_up DESC
LIMIT 5
