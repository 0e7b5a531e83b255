"""A program that runs real servers for hours with failures, and watches them.

uvicorn and gunicorn serve one app each, with two workers; one of them keeps its records
in Redis, the other in a SQLite file. Users log in, send requests and log out; TikTok
delivers webhooks; an attacker sends hostile cookies; tokens fall due all the time. One
in a hundred calls to TikTok fails. A worker is killed every minute, and the store is
unavailable every ten minutes. Each server's log, answers, memory, descriptors and rows
are watched, and a table is printed at the end.

    python -m hardening.soak [--minutes 120] [--rate 200] [--seed 20260101] [--swap]
"""
