// Package locale has the languages of pages and emails: the text of each message in each language, and how dates, times
// and numbers are written in it. A message is named by its English text. Errors of any package can carry a message
// (Text), which is put into the reader's language where it is shown.
package locale
