Feature: Protocol of the cache

  @kv_cache.positions_advance_by_what_was_read
  Scenario: A prompt, a chunk and single tokens are counted
    When a cache is read into by 4 tokens, and then by 3, 1 and 1
    Then the cache has counted 4, 7, 8 and 9 positions after each call

  @kv_cache.only_rows_seen
  Scenario: Attention is given the rows of positions that were read
    When a cache is read into by 4 tokens, and then by 3, 1 and 1
    Then each call is given the keys and values of 4, 7, 8 and 9 positions

  @kv_cache.old_rows_never_change
  Scenario: What a call was given, the next call is given again
    When a cache is read into by 4 tokens, and then by 3, 1 and 1
    Then every bit of the rows that a call was given is there in the next call

  @kv_cache.own_storage
  Scenario: Every block finds its own keys and its own values
    When a cache is read into by 4 tokens, and then by 3, 1 and 1
    Then the keys and values of every block are its own k and v of all calls, end to end

  @kv_cache.refuses_what_has_no_room
  Scenario: A call without room changes nothing
    When a cache with room for 6 positions is asked for 4 and 3 positions
    Then the cache refuses the last call, and still counts 4 positions
    And 2 tokens more get the bits that they get in a cache that never refused

  @kv_cache.new_sequence_starts_empty
  Scenario: The second sequence does not see the first
    When a sequence of 6 tokens is read, and then another of 5 in a new cache
    Then every bit of every checkpoint of the second is what it is when nothing was read before

  @kv_cache.cached_as_uncached
  Scenario: Single tokens get the logits that they get within a prompt
    When a cache is read into by 4 tokens, and then by 3, 1 and 1
    Then each row of logits is, to rounding, what one call with all the ids gives

  @kv_cache.room_for_the_whole_context
  Scenario: There is room behind the prompt
    When a cache without a stated capacity is read into by 5, 2 and 1 tokens
    Then the cache has room for every position of the model
