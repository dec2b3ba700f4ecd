// Package mail sends the emails that other packages insert into the database (storage.Email): it claims them, writes
// them in the reader's language and the vendor's brand, and passes them to an SMTP server or writes them to a folder.
package mail
