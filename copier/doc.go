// Package copier moves the bytes of files into the packs of a backup.
//
// A Copier runs workers that read sources in segments, check every page as it is
// read, compress and write; StoreStream stores one stream. The package does not
// know what a page or a table is (see Pages) nor where a repository lies (see
// Putter). What a pack looks like, and how it is read, is for package pack.
package copier
