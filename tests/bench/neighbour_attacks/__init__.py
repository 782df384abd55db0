"""What the benchmark `neighbours` runs: a daemon under a limit, and the attacks on it."""
