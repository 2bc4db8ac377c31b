"""Who may use the pages and the API: users, sessions, tokens, and what slows down guessing."""
