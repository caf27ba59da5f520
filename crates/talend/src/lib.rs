//! Talend built jobs to container images (job2docker).
