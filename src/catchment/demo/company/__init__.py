"""A bank in an app, with a website: half a year of its life as Segment API calls, and what it wants to know.

Ferry, its customers and its shops are made up. Two sources send what happens: `website` (pages, sign-ups, visitors'
chats) and `app` (screens, card payments, answers to surveys, customers' chats). Over the half year it grows, customers
come to like it better, and one week is bad: stolen cards, more questions than usual, longer waiting. A third source,
`github`, has the issues of its code, which go as plain records. Dashboards of all that lie in `dashboards/`.
"""

from catchment.demo.company.calls import Call
from catchment.demo.company.live import live
from catchment.demo.company.questions import Question, questions
from catchment.demo.company.story import history

__all__ = ["Call", "Question", "history", "live", "questions"]
