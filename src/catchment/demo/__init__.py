"""The living example: real data through the whole way, with accidents on purpose."""
