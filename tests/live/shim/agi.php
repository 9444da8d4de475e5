#!/usr/bin/env php
<?php
// What planfix-in.php of the article does, as an AGI script: the benchmark runs it by AGI(). Arguments as of post.php, with the
// address and the key from the environment.
// Asterisk tells of the call first and ends with an empty line.
$agi = [];
while (($line = fgets(STDIN)) !== false && ($line = rtrim($line)) !== '') {
    [$name, $value] = explode(': ', $line, 2) + [1 => ''];
    $agi[$name] = $value;
}
$curl = curl_init();
curl_setopt_array($curl, [
    CURLOPT_SSL_VERIFYPEER => 0,
    CURLOPT_POST => 1,
    CURLOPT_HEADER => 1,
    CURLOPT_RETURNTRANSFER => 1,
    CURLOPT_URL => getenv('PLANFIX_BENCH_URL'),
    CURLOPT_POSTFIELDS => http_build_query([
        'cmd' => 'event',
        'type' => 'in',
        'event' => 'INCOMING',
        'phone' => $agi['agi_arg_1'],
        'diversion' => $agi['agi_arg_2'],
        'ext' => $agi['agi_arg_2'],
        'callid' => $agi['agi_arg_3'],
        'planfix_token' => getenv('PLANFIX_BENCH_TOKEN'),
    ]),
]);
$answer = curl_exec($curl);
exit($answer !== false && curl_getinfo($curl, CURLINFO_RESPONSE_CODE) === 200 ? 0 : 1);
