"""Pages for everyone: dashboards, SQL and the catalogue, over the warehouse."""
