//! Gating against stores in memory that count what is asked of them.

mod clientcfg;
mod counting;
mod promote;
