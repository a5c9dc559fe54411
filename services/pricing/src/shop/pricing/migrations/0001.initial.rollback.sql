DROP TABLE redemptions;
DROP TABLE promotions;
