"""What people see in a browser: dashboards, SQL, the catalogue. Needs the extra `serve`."""
