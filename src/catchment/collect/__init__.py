"""HTTP in: Segment's tracking API and its relatives, plain records, the pixel. What is answered 200 is on disk."""
