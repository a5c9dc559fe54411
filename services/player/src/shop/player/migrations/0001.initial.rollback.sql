DROP TABLE posted_scores, game_servers, friends, rewards, game_totals, results, days, ledger, players;
