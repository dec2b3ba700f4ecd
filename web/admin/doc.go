// Package admin serves the pages for administrators about users and workspaces. They do not show the contents of a
// workspace; the pages about all apps, registration tokens and the audit log are in package dashboard.
package admin
