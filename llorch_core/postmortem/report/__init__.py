"""Facts and judgement as documents and as one page."""
