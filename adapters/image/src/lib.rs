//! Image sources: HTTP(S) and files
