// Package brand is the vendor's own look: the name, logo, colour and links that every page and email carries. It reads
// the vendor's files and derives from one colour the shades that keep text readable.
package brand
