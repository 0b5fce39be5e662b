"""The dashboards' format, without web and warehouse: a Markdown file becomes a board, an address becomes choices."""
