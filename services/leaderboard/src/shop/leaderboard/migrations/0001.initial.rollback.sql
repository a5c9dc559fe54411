DROP TABLE entries;
DROP SEQUENCE entry_seq;
DROP TABLE scores;
DROP TABLE seasons;
DROP TABLE players;
DROP TABLE boards;
