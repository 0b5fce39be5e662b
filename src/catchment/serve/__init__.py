"""The web: dashboards, SQL, accounts. Starlette and what else it stands on come with the extra `serve`."""
