"""SQLAlchemy on a transaction of onward: handlers' sessions, and publishing in sessions that are the user's own.

Imported by who declares or uses a session, and by nobody else: SQLAlchemy is an extra.
"""
