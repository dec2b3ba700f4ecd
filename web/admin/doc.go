// Package admin serves the pages for administrators about users and workspaces. They show nothing of what is inside a
// workspace; the pages about all apps and the audit log are in package dashboard.
package admin
