#!/usr/bin/env php
<?php
// post.php as an AGI script: the benchmark runs it by AGI(), with the same arguments. Asterisk tells of the call first and ends
// with an empty line.
$agi = [];
while (($line = fgets(STDIN)) !== false && ($line = rtrim($line)) !== '') {
    [$name, $value] = explode(': ', $line, 2) + [1 => ''];
    $agi[$name] = $value;
}
$argv = [__FILE__, $agi['agi_arg_1'], $agi['agi_arg_2'], $agi['agi_arg_3']];
require __DIR__ . '/post.php';
