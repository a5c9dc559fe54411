DROP TABLE mailbox;
DROP TABLE contacts;
DROP TABLE notifications;
