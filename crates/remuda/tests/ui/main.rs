//! The dashboard in a browser, over the real binary and scripted nodes: each test is a walk through the pages, written for Playwright.

#[cfg(test)]
mod stage;
#[cfg(test)]
mod walks;
