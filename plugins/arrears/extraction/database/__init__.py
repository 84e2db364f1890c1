"""Engine postgres: a lender's database, read by cursor in one snapshot and streamed as binary COPY."""
