// Package copier moves the bytes of files into the packs of a backup and back.
//
// A Copier runs workers that read sources in segments, check every page as it is read,
// compress and write; StoreStream stores one stream. Extract is the inverse, and an Overlay
// puts the layers of a file over each other. The package
// does not know what a page or a table is (see Pages), nor where a repository lies (see
// Putter and pack.Opener). What a pack looks like is the business of package pack.
package copier
