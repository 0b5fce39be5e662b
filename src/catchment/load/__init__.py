"""The loader: queue → archive → warehouse, each record once."""
