"""What must be true before anything goes out, as Great Expectations suites: the raw drop, the marts, the queues.

A module only says what must hold. Running, quarantine and verdict are `arrears.gate`.
"""
