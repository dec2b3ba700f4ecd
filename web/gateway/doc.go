// Package gateway answers for the APIs behind this server: what it refuses on their behalf has the shape that their
// vendors promised. It decides nothing about credentials; package oauth does.
package gateway
