DROP TABLE unlocked;
DROP TABLE orders;
DROP TABLE facts;
DROP TABLE players;
