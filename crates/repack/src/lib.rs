//! Archives and image layers with permissions: zip, tar and directories to reproducible layers and back.
