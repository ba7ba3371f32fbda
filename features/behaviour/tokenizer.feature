Feature: Text to token ids and back

  The vocabularies here have the 256 bytes in the order of GPT-2: the 94 printable signs of ASCII are 0 to
  93, "A" is 32, 0xC3 is 127 and 0xA9 is 102; the 68 bytes that do not print follow from 188 on, new line
  198 and blank 220. The merges follow from 256 on, <|endoftext|> is last. Words are merged from the left,
  letter by letter.

  @tokenizer.cut_by_the_pattern
  Scenario Outline: Text is cut into words, which take one blank before them along
    Given a tokenizer of bytes, <|endoftext|> and the words <words>
    When the text <text> is encoded
    Then the tokens are <tokens>

    Examples:
      | text          | words                | tokens                |
      | "Hello world" | ["Hello", " world"]  | ["Hello", " world"]   |
      | "I'll"        | ["I", "'ll"]         | ["I", "'ll"]          |
      | "don't"       | ["don", "'t"]        | ["don", "'t"]         |
      | "'tis"        | ["'tis"]             | ["'t", "i", "s"]      |
      | "a\nb"        | ["\nb"]              | ["a", "\n", "b"]      |
      | "a  b"        | ["  ", " b"]         | ["a", " ", " b"]      |
      | "n\u00e9"     | ["n\u00e9"]          | ["n\u00e9"]           |
      | "x1"          | ["x1"]               | ["x", "1"]            |

  @tokenizer.every_text_comes_back
  Scenario Outline: A text comes back as it was
    Given a tokenizer of bytes, <|endoftext|> and the words ["abc"]
    When the text <text> is encoded and decoded again
    Then the text is <text>

    Examples:
      | text                        |
      | "abc abc"                   |
      | " abc\n"                    |
      | "\u2026 \ufb01 \ud83d\ude00" |
      | "abc , 's ."                |

  @tokenizer.every_text_comes_back
  Scenario: Texts come back from the model's own tokenizer
    Given the tokenizer of the model
    When the text "Who's there?  Nay , answer me:\n\n stand \u2014 & unfold na\u00efvet\u00e9 \ud83d\ude00 .\t " is encoded and decoded again
    Then the text is "Who's there?  Nay , answer me:\n\n stand \u2014 & unfold na\u00efvet\u00e9 \ud83d\ude00 .\t "

  @tokenizer.characters_of_bytes
  Scenario Outline: A byte has the id of the character that stands for it
    Given a tokenizer of bytes, <|endoftext|> and the words []
    When the text <text> is encoded
    Then the token ids are <ids>

    Examples:
      | text     | ids                  |
      | "A~"     | [32, 93]             |
      | "A\n "   | [32, 198, 220]       |
      | "\u00e9" | [127, 102]           |
      | "\u00e0" | [127, 254]           |

  @tokenizer.merges_in_order
  Scenario: The merge of an earlier line comes first, though it is further right
    Given a tokenizer of bytes, <|endoftext|> and the merges ["b c", "a b"]
    When the text "abc" is encoded
    Then the tokens are ["a", "bc"]

  @tokenizer.merges_in_order
  Scenario: A longer token is not made where its parts are gone
    Given a tokenizer of bytes, <|endoftext|> and the merges ["a b", "c d", "ab c"]
    When the text "abcd" is encoded
    Then the tokens are ["ab", "cd"]

  @tokenizer.nothing_put_before
  Scenario: A text of one letter is one token
    Given a tokenizer of bytes, <|endoftext|> and the words []
    When the text "A" is encoded
    Then the token ids are [32]

  @tokenizer.special_only_where_allowed
  Scenario: The name of a special token in a prompt is text
    Given a tokenizer of bytes, <|endoftext|> and the words ["end"]
    When the text "<|endoftext|>" is encoded
    Then the tokens are ["<", "|", "end", "o", "f", "t", "e", "x", "t", "|", ">"]

  @tokenizer.special_only_where_allowed
  Scenario: The name of a special token is that token where special tokens are allowed
    Given a tokenizer of bytes, <|endoftext|> and the words []
    When the text "A<|endoftext|>A" is encoded with special tokens
    Then the token ids are [32, 256, 32]

  @tokenizer.bytes_joined_first
  Scenario: Two tokens that are one character together
    Given a tokenizer of bytes, <|endoftext|> and the words []
    When the ids [127, 102] are decoded
    Then the text is "\u00e9"

  @tokenizer.bytes_joined_first
  Scenario: A token that is half a character
    Given a tokenizer of bytes, <|endoftext|> and the words []
    When the ids [32, 127, 32] are decoded
    Then the text is "A\ufffdA"

  @tokenizer.unknown_id_refused
  Scenario: An id past the vocabulary
    Given a tokenizer of bytes, <|endoftext|> and the words []
    When the ids [32, 257] are decoded
    Then the caller gets a refusal
