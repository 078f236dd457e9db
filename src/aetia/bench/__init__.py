"""Suites, metrics, runner, leaderboard."""
