"""Sagas: the engine that decides what comes next, and what keeps, resumes and measures sagas."""
