//! Chains of image builds from IMAGES.json (corpusops).
