"""Charts as Vega specifications: what the data says, laid out so that a browser only has to draw it.

Colours are tokens such as `@s1`, which the page resolves, so that one specification serves light and dark. Times are
drawn by the wall clock of the project's zone: their milliseconds are those of the same wall clock in UTC.
"""
