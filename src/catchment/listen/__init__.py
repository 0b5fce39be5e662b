"""Messages in: what exchanges, topics and queues of others say becomes records."""

from catchment.listen.row import Row

__all__ = ["Row"]
