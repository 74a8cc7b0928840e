//! Flows that the program carries by itself.

mod churn;
mod conditions;
mod equality;
mod support;
