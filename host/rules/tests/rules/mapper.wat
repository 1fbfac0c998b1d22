;; A mapper by hand; see wat_rule.rs, which fills in what begins with an at sign.
(module
  @imports
  (import "stillhouse:rules/log@@contract" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 4)
  (global $heap (mut i32) (i32.const 65536))
  (global $turn (mut i32) (i32.const 0))
  (data (i32.const @base) "@data")
  @items

  (func $alloc (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
      (then
        (drop (memory.grow
          (i32.add (i32.const 1) (i32.shr_u (local.get $size) (i32.const 16)))))))
    (memory.fill (local.get $at) (i32.const 0) (local.get $size))
    (local.get $at))

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (call $alloc (local.get 3)))

  (func (export "stillhouse:rules/mapper-rule@@contract#describe") (result i32)
    @describe)

  (func (export "stillhouse:rules/mapper-rule@@contract#configure") (param i32 i32) (result i32)
    (i32.const @configured))

  (func $recurse (param $n i32) (result i32)
    (i32.add (call $recurse (i32.add (local.get $n) (i32.const 1))) (local.get $n)))

  (func $burn (param $n i32)
    (loop $again
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (local.get $n))))

  (func $chat (param $n i32)
    (loop $again
      (call $log (i32.const 1) (i32.const @fatal) (i32.const 8))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (local.get $n))))

  (func (export "cabi_post_stillhouse:rules/mapper-rule@@contract#map") (param i32)
    (global.set $heap (i32.const 65536)))

  (func (export "stillhouse:rules/mapper-rule@@contract#map")
      (param $rows i32) (param $columns i32) (param $count i32) (result i32)
    (local $offsets i32) (local $data i32) (local $row i32) (local $c i32)
    (local $outcome i32) (local $state i32) (local $severity i32)
    (local $key_offsets i32) (local $key i32) (local $keys i32)
    (local $codes i32) (local $answer i32) (local $length i32)
    ;; The first column must be `text`.
    (if (i32.load8_u (local.get $columns)) (then unreachable))
    (local.set $offsets (i32.load offset=4 (local.get $columns)))
    (local.set $data (i32.load offset=12 (local.get $columns)))
    (local.set $outcome (call $alloc (i32.add (local.get $rows) (i32.const 1))))
    (local.set $state (call $alloc (local.get $rows)))
    (local.set $severity (call $alloc (local.get $rows)))
    (local.set $key_offsets
      (call $alloc (i32.mul (i32.add (local.get $rows) (i32.const 1)) (i32.const 4))))
    (local.set $key (call $alloc (local.get $rows)))
    (local.set $codes (call $alloc (i32.mul (local.get $rows) (i32.const 4))))
    (local.set $answer (call $alloc (i32.const 80)))
    (local.set $length (local.get $rows))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $row) (local.get $rows)))
        (local.set $c (i32.const 63))
        (if (i32.ne (i32.load (local.get $offsets)) (i32.load offset=4 (local.get $offsets)))
          (then (local.set $c
            (i32.load8_u (i32.add (local.get $data) (i32.load (local.get $offsets)))))))
        (if (i32.eq (local.get $c) (i32.const 116)) (then unreachable)) ;; t
        (if (i32.eq (local.get $c) (i32.const 108)) (then (loop $ever (br $ever)))) ;; l
        (if (i32.eq (local.get $c) (i32.const 109)) ;; m
          (then (drop (memory.grow (i32.const 1000)))))
        (if (i32.eq (local.get $c) (i32.const 115)) ;; s
          (then (drop (call $recurse (i32.const 0)))))
        (if (i32.eq (local.get $c) (i32.const 112)) ;; p
          (then (call $log (i32.const 4) (i32.const @fatal) (i32.const @fatal_len)) unreachable))
        (if (i32.eq (local.get $c) (i32.const 98)) ;; b
          (then (i32.store8 (i32.add (local.get $outcome) (local.get $row)) (i32.const 9))))
        (if (i32.eq (local.get $c) (i32.const 119)) ;; w
          (then (local.set $length (i32.add (local.get $rows) (i32.const 1)))))
        (if (i32.eq (local.get $c) (i32.const 100)) ;; d
          (then (i32.store8 (i32.add (local.get $outcome) (local.get $row)) (i32.const 1))))
        (if (i32.eq (local.get $c) (i32.const 99)) (then (call $burn (i32.const 750000)))) ;; c
        (if (i32.eq (local.get $c) (i32.const 118)) (then (call $chat (i32.const 100)))) ;; v
        (if (i32.eq (local.get $c) (i32.const 105)) ;; i
          (then
            (i32.store8 (i32.add (local.get $state) (local.get $row)) (global.get $turn))
            (global.set $turn (i32.xor (global.get $turn) (i32.const 1)))))
        (if (i32.ne (local.get $c) (i32.const 107)) ;; k has no key
          (then
            (i32.store8 (i32.add (local.get $key) (local.get $keys))
              (select (i32.const 255) (local.get $c) (i32.eq (local.get $c) (i32.const 117)))) ;; u
            (local.set $keys (i32.add (local.get $keys) (i32.const 1)))))
        (local.set $row (i32.add (local.get $row) (i32.const 1)))
        (local.set $offsets (i32.add (local.get $offsets) (i32.const 4)))
        (i32.store
          (i32.add (local.get $key_offsets) (i32.mul (local.get $row) (i32.const 4)))
          (local.get $keys))
        (br $next)))
    (i32.store offset=0 (local.get $answer) (local.get $outcome))
    (i32.store offset=4 (local.get $answer) (local.get $length))
    (i32.store offset=8 (local.get $answer) (local.get $state))
    (i32.store offset=12 (local.get $answer) (local.get $rows))
    (i32.store offset=16 (local.get $answer) (local.get $severity))
    (i32.store offset=20 (local.get $answer) (local.get $rows))
    (i32.store offset=24 (local.get $answer) (local.get $key_offsets))
    (i32.store offset=28 (local.get $answer) (i32.add (local.get $rows) (i32.const 1)))
    (i32.store offset=32 (local.get $answer) (local.get $key))
    (i32.store offset=36 (local.get $answer) (local.get $keys))
    ;; No values: 40 to 55 stay 0. Every list points to something aligned.
    (i32.store offset=40 (local.get $answer) (local.get $key_offsets))
    (i32.store offset=48 (local.get $answer) (local.get $key))
    (i32.store offset=56 (local.get $answer) (local.get $codes))
    (i32.store offset=60 (local.get $answer) (local.get $rows))
    (i32.store offset=64 (local.get $answer) (i32.const @reason_offsets))
    (i32.store offset=68 (local.get $answer) (i32.const 2))
    (i32.store offset=72 (local.get $answer) (i32.const @reason))
    (i32.store offset=76 (local.get $answer) (i32.const @reason_len))
    (local.get $answer))
)
