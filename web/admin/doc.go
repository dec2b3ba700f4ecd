// Package admin serves the pages for administrators of the server, about its users and its workspaces. Nothing of what
// is
// inside a workspace is on them; the pages about all apps share those of package dashboard.
package admin
