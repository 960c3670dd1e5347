"""What breaks, and what must not: the oracle is that what was accepted is there, once.

Every test logs from real processes (`trainee`), breaks something (a process, the network, a disk,
bytes, a clock), lets `asyncwb sync` have its turn and then reads the run back (`oracle`).
`ASYNCWB_TEST_ROUNDS=20` makes every test take twenty times as many seeds or rounds.
"""
